module github.com/evenkeel-go/evenkeel/test

go 1.26.0

require (
	github.com/evenkeel-go/evenkeel v0.0.0
	github.com/evenkeel-go/evenkeel/example v0.0.0
	github.com/evenkeel-go/evenkeel/health/metrics v0.0.0
	github.com/evenkeel-go/evenkeel/serveropts/streams v0.0.0
	google.golang.org/grpc v1.85.0
)

require (
	connectrpc.com/connect v1.21.1
	github.com/miekg/dns v1.1.73
	github.com/pires/go-proxyproto v0.15.0
	github.com/soheilhy/cmux v0.1.5
	go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc v0.72.0
	go.opentelemetry.io/otel/metric v1.47.0
	go.opentelemetry.io/otel/trace v1.47.0
	go.uber.org/goleak v1.3.0
	golang.org/x/net v0.62.0
	golang.org/x/sys v0.49.0
	google.golang.org/genproto/googleapis/rpc v0.0.0-20261019180522-ce908d29299b
	google.golang.org/protobuf v1.36.12
)

require (
	github.com/beorn7/perks v1.0.1 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/go-logr/logr v1.4.4 // indirect
	github.com/go-logr/stdr v1.2.2 // indirect
	github.com/grpc-ecosystem/go-grpc-middleware/v2 v2.3.3 // indirect
	github.com/grpc-ecosystem/grpc-gateway/v2 v2.33.0 // indirect
	github.com/munnerz/goautoneg v0.0.0-20191010083416-a7dc8b61c822 // indirect
	github.com/prometheus/client_golang v1.23.2 // indirect
	github.com/prometheus/client_model v0.6.2 // indirect
	github.com/prometheus/common v0.66.1 // indirect
	github.com/prometheus/procfs v0.16.1 // indirect
	go.opentelemetry.io/auto/sdk v1.2.1 // indirect
	go.opentelemetry.io/otel v1.47.0 // indirect
	go.opentelemetry.io/otel/log v1.47.0 // indirect
	go.yaml.in/yaml/v2 v2.4.3 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/text v0.43.0 // indirect
	google.golang.org/genproto/googleapis/api v0.0.0-20261026165753-2ffab32bce7e // indirect
)

replace (
	github.com/evenkeel-go/evenkeel => ../
	github.com/evenkeel-go/evenkeel/example => ../example
	github.com/evenkeel-go/evenkeel/health/metrics => ../health/metrics
	github.com/evenkeel-go/evenkeel/peers/kube => ../peers/kube
	github.com/evenkeel-go/evenkeel/serveropts/streams => ../serveropts/streams
)
