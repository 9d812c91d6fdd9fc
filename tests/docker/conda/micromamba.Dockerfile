FROM mambaorg/micromamba:1.5.8
COPY --chown=$MAMBA_USER:$MAMBA_USER environment.yml /tmp/env.yaml
RUN micromamba install -y -n base -f /tmp/env.yaml && \
    micromamba clean --all --yes
ARG MAMBA_DOCKERFILE_ACTIVATE=1
RUN where-am-i
SHELL ["/usr/local/bin/_dockerfile_shell.sh"]
RUN test "$CONDA_DEFAULT_ENV" = base && where-am-i
ENTRYPOINT ["/usr/local/bin/_entrypoint.sh", "where-am-i"]
