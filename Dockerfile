# A static binary in an image that holds nothing else. Both base images are
# arguments: any Go 1.26 image builds it, any base runs it.
#
#   docker build -t weir .
#   docker build -t weir --build-arg BASE_IMAGE=debian:stable-slim .
#   docker run --read-only --cap-drop ALL -v weir:/var/lib/weir -v ./weir.yaml:/etc/weir/weir.yaml:ro weir
ARG GO_IMAGE=golang:1.26
ARG BASE_IMAGE=scratch

FROM ${GO_IMAGE} AS build
ARG VERSION=
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# timetzdata: quiet hours need time zones, and the base image may have none.
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -tags timetzdata \
      -ldflags "-s -w -buildid= -X main.release=${VERSION}" -o /out/weir ./cmd/weir
# The example configuration, with evidence and its key on the volume. Shown by
# the binary itself to be readable before the image exists.
RUN mkdir -p /out/etc /out/lib/evidence \
 && sed -E 's,^( +dir: )evidence( |$),\1/var/lib/weir/evidence\2,; s,^( +key_file: )evidence\.key( |$),\1/var/lib/weir/evidence.key\2,' \
      configs/weir.yaml > /out/etc/weir.yaml \
 && [ "$(grep -c '/var/lib/weir/evidence' /out/etc/weir.yaml)" = 2 ] \
 && /out/weir check --config /out/etc/weir.yaml

FROM ${BASE_IMAGE}
ARG VERSION=
ARG REVISION=
LABEL org.opencontainers.image.title="Weir" \
      org.opencontainers.image.description="Streaming content moderation with evidence" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/weir-moderation/weir" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.version="${VERSION}"
# Authorities for TLS to brokers and Redis, where the base image has none.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY LICENSE NOTICE /licenses/
COPY rules/fold/NOTICE /licenses/NOTICE.fold
COPY rules/form/NOTICE /licenses/NOTICE.form
COPY --from=build /out/etc /etc/weir
COPY --from=build --chown=65532:65532 /out/lib /var/lib/weir
COPY --from=build /out/weir /weir
# Evidence must outlive the container.
VOLUME /var/lib/weir
USER 65532:65532
# Metrics, health and reload. They listen on loopback inside the container
# unless run is given --listen :9464; whoever reaches them can reload the rules.
EXPOSE 9464
ENTRYPOINT ["/weir"]
CMD ["run", "--config", "/etc/weir/weir.yaml"]
