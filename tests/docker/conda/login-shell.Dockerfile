FROM continuumio/miniconda3
RUN conda create --name ml python=3.11 where activated -y && conda clean -a
RUN conda init bash && echo "conda activate ml" >> ~/.bashrc
SHELL ["/bin/bash", "--login", "-c"]
RUN where-am-i && [ "$CONDA_DEFAULT_ENV" = ml ] && [ -n "$ACTIVATED" ]
RUN conda deactivate && . /opt/conda/etc/profile.d/conda.sh && conda activate ml && where-am-i
CMD ["/bin/bash", "--login", "-c", "where-am-i"]
