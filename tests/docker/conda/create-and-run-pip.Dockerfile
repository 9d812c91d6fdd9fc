FROM continuumio/miniconda3
WORKDIR /app
COPY train.py .
RUN conda create -n ml python=3.11 where pip -y
RUN conda run -n ml pip install --no-cache-dir --upgrade pip > /said
RUN conda run --no-capture-output -n ml python train.py >> /said
ENTRYPOINT ["conda", "run", "--no-capture-output", "-n", "ml", "where-am-i"]
