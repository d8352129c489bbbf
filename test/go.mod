module github.com/evenkeel-go/evenkeel/test

go 1.26.0

require (
	github.com/evenkeel-go/evenkeel v0.0.0
	github.com/evenkeel-go/evenkeel/example v0.0.0
	google.golang.org/grpc v1.85.0
)

require (
	connectrpc.com/connect v1.21.1
	github.com/miekg/dns v1.1.73
	golang.org/x/net v0.62.0
	google.golang.org/protobuf v1.36.12
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/text v0.43.0 // indirect
)

replace (
	github.com/evenkeel-go/evenkeel => ../
	github.com/evenkeel-go/evenkeel/example => ../example
)
