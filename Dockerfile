# The binary is static: the last stage holds it, the certificate authorities and nothing else, no shell among it.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY agent ./agent
COPY policy ./policy
COPY spoe ./spoe
ARG VERSION=unknown
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /vertex-spoa ./agent/cmd/vertex-spoa

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /vertex-spoa /usr/local/bin/vertex-spoa
USER 65532:65532
# Mount the configuration and the policy here; the socket's directory is shared with HAProxy's container.
VOLUME ["/etc/vertex-spoa", "/run/vertex-spoa"]
HEALTHCHECK --interval=5s --timeout=2s --start-period=15s CMD ["/usr/local/bin/vertex-spoa", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/vertex-spoa"]
CMD ["serve", "--config", "/etc/vertex-spoa/vertex-spoa.yaml"]
