# syntax=docker/dockerfile:1
#
# docker build --build-arg VERSION="$(git describe --tags --always)" -t signalstack .
#
# The image holds one static binary, certificates and nothing else: no shell, no
# package manager, no PostgreSQL. It writes nothing to its file system.

FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod \
    go mod download
COPY . .
ARG VERSION=dev
ARG TARGETOS TARGETARCH
RUN --mount=type=cache,target=/go/pkg/mod \
    --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o /signalstack ./cmd/signalstack

FROM gcr.io/distroless/static-debian13:nonroot
ARG VERSION=dev
LABEL org.opencontainers.image.title="SignalStack" \
      org.opencontainers.image.description="Events in, reliable jobs out: webhooks, e-mail, HTTP calls and workers, on PostgreSQL alone" \
      org.opencontainers.image.source="https://github.com/signalstack/signalstack" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION"
COPY --from=build /signalstack /signalstack
COPY LICENSE /LICENSE
# The number, not the name: Kubernetes can then see that it is not root.
USER 65532:65532
EXPOSE 8080
# Stop claiming, finish what runs, hand the rest back. Give the container a little
# longer than SIGNALSTACK_SHUTDOWN_GRACE before it is killed.
STOPSIGNAL SIGTERM
# Asks the server in this container. "work" and "migrate" serve no HTTP and turn
# it off where they are run. The server gives the database 2 s and "healthcheck" the
# server 2.5 s, so that the reason is heard before Docker's 3 s are over. The start
# interval needs Docker 25.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --start-interval=1s --retries=3 \
    CMD ["/signalstack", "healthcheck"]
ENTRYPOINT ["/signalstack"]
CMD ["serve"]
