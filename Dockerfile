# mlconda's own image: a base with the program under its own name and under conda's, for Dockerfiles in which nothing but
# the `FROM` changes (docs/conda.md), and to copy the program from (docs/docker.md).
#
#   docker build --tag mlconda .
#   docker build --tag mlconda --target program .      the static program and nothing else
#
# BUILDER is any image with Rust, a C compiler and the crates in reach. BASE is any image with a shell.
ARG BUILDER=rust:1-slim-bookworm
ARG BASE=debian:bookworm-slim

FROM ${BUILDER} AS builder
WORKDIR /src
COPY . .
RUN cargo static && cp target/*/release/mlconda /usr/local/bin/

FROM scratch AS program
COPY --from=builder /usr/local/bin/mlconda /mlconda
ENTRYPOINT ["/mlconda"]

FROM ${BASE}
COPY --from=builder /usr/local/bin/mlconda /mlconda
RUN for name in mlconda conda mamba micromamba; do ln -s /mlconda "/usr/local/bin/$name"; done
ENV PATH=/opt/conda/bin:$PATH
CMD ["/bin/bash"]
