FROM continuumio/miniconda3
RUN conda install -y -c conda-forge where pip python=3.11 \
    && conda clean --all --yes
CMD ["where-am-i"]
