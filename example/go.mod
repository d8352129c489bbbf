module github.com/evenkeel-go/evenkeel/example

go 1.26.0

require (
	github.com/evenkeel-go/evenkeel v0.0.0
	google.golang.org/grpc v1.85.0
)

replace github.com/evenkeel-go/evenkeel => ../
