# Build:  docker build -t watchkeeper .
# Serve:  docker run -p 8080:8080 -v watchkeeper:/var/lib/watchkeeper -v ./my-config:/etc/watchkeeper:ro watchkeeper
# Beyond loopback it refuses to start until the mounted configuration names credentials.

FROM rust:1-bookworm AS build
WORKDIR /build
COPY . .
# The caches outlive the layer: a change in src/ compiles no dependency again.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked && cp target/release/watchkeeper /watchkeeper

FROM debian:bookworm-slim
# The roots by which TLS to Slack, PagerDuty and the model is checked.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/watchkeeper --create-home --shell /usr/sbin/nologin watchkeeper \
    && chmod 700 /var/lib/watchkeeper
COPY --from=build /watchkeeper /usr/local/bin/watchkeeper
COPY config /etc/watchkeeper
ENV WATCHKEEPER__LISTEN=0.0.0.0:8080 WATCHKEEPER__DATA_DIR=/var/lib/watchkeeper
# By number, so that Kubernetes can see that it is not root.
USER 10001:10001
WORKDIR /var/lib/watchkeeper
VOLUME /var/lib/watchkeeper
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=5s --start-period=10s --retries=3 \
    CMD ["/usr/local/bin/watchkeeper", "healthcheck", "--config", "/etc/watchkeeper/watchkeeper.yaml"]
ENTRYPOINT ["/usr/local/bin/watchkeeper"]
CMD ["serve", "--config", "/etc/watchkeeper/watchkeeper.yaml"]
