# mlconda's own image: a base with the program under its own name and under conda's names. Dockerfiles of conda can use
# it by changing only their `FROM` (docs/conda.md, docs/shells.md), and others can copy the program from it
# (docs/docker.md).
#
#   docker build --tag mlconda .
#   docker build --tag mlconda --target program .      only the static program
#   docker build --tag mlconda-run --target program --build-arg PROGRAM=static-run .      one that only runs commands
#
# BUILDER is any image with Rust, a C compiler and access to the crates. BASE is any image with bash.
ARG BUILDER=rust:1-slim-bookworm
ARG BASE=debian:bookworm-slim

FROM ${BUILDER} AS builder
WORKDIR /src
COPY . .
# The program: `static`, or the smaller `static-small` or `static-run`.
ARG PROGRAM=static
RUN cargo ${PROGRAM} && cp $(find target -path '*/release/mlconda' -type f) /usr/local/bin/

FROM scratch AS program
COPY --from=builder /usr/local/bin/mlconda /mlconda
ENTRYPOINT ["/mlconda"]

FROM ${BASE}
COPY --from=builder /usr/local/bin/mlconda /mlconda
# Dockerfiles expect these of images of conda and micromamba: the names, the functions of shells, and an entry point and
# a shell for `SHELL` that activate an environment.
RUN ln -s /mlconda /usr/local/bin/mlconda && mkdir -p /opt/conda/bin /opt/conda/condabin && \
    for name in conda mamba micromamba; do \
        for directory in /usr/local/bin /opt/conda/bin /opt/conda/condabin; do \
            ln -s /mlconda "$directory/$name" || exit 1; \
        done; \
    done && \
    HOME=/root conda init bash && \
    ln -s /opt/conda/etc/profile.d/conda.sh /etc/profile.d/conda.sh && \
    cd /usr/local/bin && \
    printf '%s\n' '#!/bin/sh' 'if [ $# = 0 ]; then set -- /bin/bash; fi' \
        'if [ "${MAMBA_SKIP_ACTIVATE:-0}" = 1 ]; then exec "$@"; fi' 'exec micromamba run -n "${ENV_NAME:-base}" "$@"' >_entrypoint.sh && \
    printf '%s\n' '#!/bin/sh' 'if [ "${MAMBA_DOCKERFILE_ACTIVATE:-0}" != 1 ]; then exec bash -o pipefail -c "$@"; fi' \
        'exec micromamba run -n "${ENV_NAME:-base}" bash -o pipefail -c "$@"' >_dockerfile_shell.sh && \
    printf '%s\n' 'if [ "${MAMBA_SKIP_ACTIVATE:-0}" != 1 ]; then' '    . /opt/conda/etc/profile.d/conda.sh' \
        '    micromamba activate "${ENV_NAME:-base}"' 'fi' >_activate_current_env.sh && \
    chmod 755 _entrypoint.sh _dockerfile_shell.sh _activate_current_env.sh
ENV PATH=/opt/conda/bin:$PATH CONDA_DIR=/opt/conda MAMBA_ROOT_PREFIX=/opt/conda MLCONDA_ROOT=/opt/conda MAMBA_USER=root
CMD ["/bin/bash"]
