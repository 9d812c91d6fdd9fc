# mlconda's own image: the static program and nothing else, to copy from (docs/docker.md).
#
#   docker build --tag mlconda .
#
# BUILDER is any image with Rust, a C compiler and the crates in reach.
ARG BUILDER=rust:1-slim-bookworm

FROM ${BUILDER} AS builder
WORKDIR /src
COPY . .
RUN cargo static && cp target/*/release/mlconda /usr/local/bin/

FROM scratch
COPY --from=builder /usr/local/bin/mlconda /mlconda
ENTRYPOINT ["/mlconda"]
