FROM continuumio/miniconda3 AS builder
COPY environment.yml .
RUN conda env create -f environment.yml
FROM debian:bookworm-slim
COPY --from=builder /opt/conda/envs/ml /opt/conda/envs/ml
ENV PATH=/opt/conda/envs/ml/bin:$PATH
CMD ["where-am-i"]
