# Builds the image of the example server: one static binary and nothing else. It runs as user
# 65532 and writes to no file. `make image` packs the same image without a daemon.
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
ENTRYPOINT ["/server", "-introspection=false"]
