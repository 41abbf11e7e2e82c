# The operator's image: a static binary and the certificates of public CAs, nothing else. `make image` builds the last
# stage from the output of hack/image/root.sh on this machine; the tests run that image. The first stage runs the same
# script in a container, and needs a registry for its base image. See docs/image.md.

# Debian 12: its glibc is linked into the binary, and its CA certificates are copied.
FROM rust:1.95.0-slim-bookworm@sha256:d7482085ff5b415f84dba5647ae71606650bdef00db7aeb69f4b3d170c3e4082 AS build
WORKDIR /src
COPY . .
# A label of the metric approval_operator_build_info.
ARG REVISION
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    SOURCE_REVISION="$REVISION" hack/image/root.sh /out

FROM scratch
COPY --from=build /out /
ARG VERSION
ARG REVISION
ARG CREATED
LABEL org.opencontainers.image.title="approval-operator" \
      org.opencontainers.image.description="A Kubernetes operator that approves and rejects AWS CodePipeline manual approvals from Git and kubectl" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED"
# Numeric, so that kubelet can verify runAsNonRoot.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/approval-operator"]
