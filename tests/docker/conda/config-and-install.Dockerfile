FROM continuumio/miniconda3
RUN conda config --system --prepend channels conda-forge && conda config --system --set channel_priority strict
RUN conda config --set always_yes yes --set changeps1 no && conda update -q conda
RUN conda install where==1.1 && conda clean -tipsy
CMD ["where-am-i"]
