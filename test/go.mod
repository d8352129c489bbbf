module github.com/evenkeel-go/evenkeel/test

go 1.26.0

require (
	github.com/evenkeel-go/evenkeel v0.0.0
	github.com/evenkeel-go/evenkeel/example v0.0.0
	google.golang.org/grpc v1.85.0
)

require (
	connectrpc.com/connect v1.21.1
	golang.org/x/net v0.62.0
	google.golang.org/protobuf v1.36.12
)

replace (
	github.com/evenkeel-go/evenkeel => ../
	github.com/evenkeel-go/evenkeel/example => ../example
)
