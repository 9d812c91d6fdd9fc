FROM continuumio/miniconda3
COPY environment.yml /app/environment.yml
RUN conda env create -f /app/environment.yml && conda clean -afy
ENV PATH=/opt/conda/envs/ml/bin:$PATH
CMD ["where-am-i"]
