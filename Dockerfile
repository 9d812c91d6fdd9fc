# mlconda's own images.
#
#   docker build --tag mlconda .
#     the static program and nothing else, to copy from (docs/docker.md)
#   docker build --target conda --tag mlconda/conda .
#     a system in which the program is conda, mamba and micromamba: a Dockerfile of theirs needs another FROM, and no other
#     change (docs/conda.md)
#
# BUILDER is any image with Rust, a C compiler and the crates in reach; BASE is any system with bash.
ARG BUILDER=rust:1-slim-bookworm
ARG BASE=debian:bookworm-slim

FROM ${BUILDER} AS builder
WORKDIR /src
COPY . .
RUN cargo static && cp target/*/release/mlconda /usr/local/bin/

FROM ${BASE} AS conda
COPY --from=builder /usr/local/bin/mlconda /usr/local/bin/mlconda
# What Dockerfiles expect of images of conda and micromamba: the names, the functions of shells, and an entry point that
# activates.
RUN mkdir -p /opt/conda/bin /opt/conda/condabin && \
    for name in conda mamba micromamba; do \
        ln -s mlconda /usr/local/bin/$name && ln -s /usr/local/bin/mlconda /opt/conda/bin/$name && \
        ln -s /usr/local/bin/mlconda /opt/conda/condabin/$name || exit 1; \
    done && \
    HOME=/root conda init bash && \
    ln -s /opt/conda/etc/profile.d/conda.sh /etc/profile.d/conda.sh && \
    printf '#!/bin/sh\nexec micromamba run -n "${ENV_NAME:-base}" "$@"\n' >/usr/local/bin/_entrypoint.sh && \
    chmod 755 /usr/local/bin/_entrypoint.sh
ENV PATH=/opt/conda/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    CONDA_DIR=/opt/conda MAMBA_ROOT_PREFIX=/opt/conda MAMBA_USER=root MLCONDA_ROOT=/opt/conda
CMD ["/bin/bash"]

FROM scratch
COPY --from=builder /usr/local/bin/mlconda /mlconda
ENTRYPOINT ["/mlconda"]
