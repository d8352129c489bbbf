module github.com/evenkeel-go/evenkeel/serveropts/streams

go 1.25.0

require (
	github.com/evenkeel-go/evenkeel v0.0.0
	github.com/grpc-ecosystem/go-grpc-middleware/v2 v2.3.0
	go.uber.org/goleak v1.3.0
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260226221140-a57be14db171
	google.golang.org/grpc v1.81.1
	google.golang.org/protobuf v1.36.11
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	go.yaml.in/yaml/v3 v3.0.4 // indirect
	golang.org/x/net v0.51.0 // indirect
	golang.org/x/sys v0.42.0 // indirect
	golang.org/x/text v0.34.0 // indirect
)

replace github.com/evenkeel-go/evenkeel => ../..
