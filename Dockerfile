# The operator's image: a static program and the certificates of public CAs, nothing else. `make image` builds its last
# stage from what image/root.sh makes on this machine, and the tests run that; the stage before it, which calls the same
# script in a container, is built only where there is a registry. docs/image.md tells how.

# Debian 12, whose glibc is linked into the program, and whose CAs are copied.
FROM rust:1.95.0-slim-bookworm@sha256:d7482085ff5b415f84dba5647ae71606650bdef00db7aeb69f4b3d170c3e4082 AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target image/root.sh /out

FROM scratch
COPY --from=build /out /
ARG VERSION
ARG REVISION
ARG CREATED
LABEL org.opencontainers.image.title="approval-operator" \
      org.opencontainers.image.description="The Kubernetes operator through which teams answer AWS CodePipeline manual approvals from Git and kubectl" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED"
# As numbers, so that a kubelet can tell that it is not root (runAsNonRoot).
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/approval-operator"]
