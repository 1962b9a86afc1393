# The service alone on SQLite:
#
#   docker build --tag usher .
#   docker run --name usher --publish 127.0.0.1:8080:8080 --volume usher-data:/var/lib/usher usher
#
# The first start makes the super-user `admin` and says in which file its password lies; to read it:
#
#   docker exec usher cat THAT_FILE
#
# With PostgreSQL, and with secrets kept outside: docker-compose.yml.

# The builder and the image that runs have to be of the same Debian release, so that the C library agrees.
ARG RUST_VERSION=1.95
ARG DEBIAN_RELEASE=bookworm

# The full variant, not the slim one: OpenSSL is built from source and wants perl and make.
FROM rust:${RUST_VERSION}-${DEBIAN_RELEASE} AS builder
WORKDIR /src
COPY . .
# Only downloads are kept between builds. A kept target folder could pass off an old binary as new when file times
# go backwards, as they may between two checkouts.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    cargo build --locked --release --bin usher

FROM debian:${DEBIAN_RELEASE}-slim
LABEL org.opencontainers.image.title="usher" \
      org.opencontainers.image.description="SSO identity service" \
      org.opencontainers.image.licenses="Apache-2.0 OR MIT"

# The number is fixed because files mounted from the host have to belong to it.
RUN groupadd --gid 10001 usher \
    && useradd --uid 10001 --gid usher --home-dir /var/lib/usher --no-create-home --shell /usr/sbin/nologin usher \
    && install --directory --owner usher --group usher --mode 0700 /var/lib/usher

# The OpenSSL inside the binary looks for certificates where it was built, which does not exist here.
COPY --from=builder /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=builder /src/target/release/usher /usr/local/bin/usher

ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    USHER__SERVER__LISTEN=0.0.0.0:8080 \
    USHER__DATABASE__URL=sqlite:/var/lib/usher/usher.db

USER 10001:10001
# Whatever a setting names by a relative path lands in the volume too.
WORKDIR /var/lib/usher
VOLUME /var/lib/usher
EXPOSE 8080

# The slim image has no HTTP client, but its bash can open a socket.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["bash", "-c", "\
exec 3<>\"/dev/tcp/127.0.0.1/${USHER__SERVER__LISTEN##*:}\" \
&& printf 'GET /healthz HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 \
&& read -r -t 4 _ status _ <&3 \
&& [[ $status == 200 ]]"]

ENTRYPOINT ["usher"]
CMD ["serve"]
