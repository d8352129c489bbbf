# The example server as an image: one static binary and nothing else, as user 65532, with
# nothing that it writes to. `make image` packs the same without a daemon.
#
#   docker build -t evenkeel-example-server:dev .
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
ARG TARGETOS TARGETARCH
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    cd example && CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags '-s -w' -o /out/server ./server

FROM scratch
COPY --from=build /out/server /server
USER 65532:65532
EXPOSE 50051 8080
ENTRYPOINT ["/server"]
