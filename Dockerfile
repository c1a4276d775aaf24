# syntax=docker/dockerfile:1.7
# lmscore's server and command. The build compiles the loops for the machine it runs on; on another
# kind of processor they are compiled at the first start, which takes a minute longer.
#
#   docker build -t lmscore .
#   docker build -t lmscore:1.2.3 --build-arg VERSION=1.2.3 .
#   docker build -t lmscore:gpu --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 .

ARG PYTHON=3.11.14-slim-bookworm

FROM python:${PYTHON} AS build
# Where torch comes from: without CUDA it is a tenth of the size.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/lmscore
WORKDIR /src
COPY constraints.txt ./
RUN /opt/lmscore/bin/pip install -c constraints.txt --extra-index-url "${TORCH_INDEX}" \
      torch numba numpy grpcio protobuf tokenizers sentencepiece
COPY pyproject.toml README.md CHANGELOG.md ./
COPY proto proto
COPY models models
COPY server server
COPY client client
# Git is not here to tell the version.
ARG VERSION=0.1.0.dev0
RUN SETUPTOOLS_SCM_PRETEND_VERSION_FOR_LMSCORE="${VERSION}" \
    /opt/lmscore/bin/pip install -c constraints.txt --extra-index-url "${TORCH_INDEX}" \
      '.[server,cli,tracing,gpu]'
COPY checkpoints/demo /opt/lmscore/demo
ENV NUMBA_CACHE_DIR=/var/cache/lmscore
RUN /opt/lmscore/bin/lmscore-server --dry-run --device cpu \
      --model demo=/opt/lmscore/demo/trigram.arpa.gz --model demo-lstm=/opt/lmscore/demo/lstm

FROM python:${PYTHON}
RUN groupadd --gid 10001 lmscore \
 && useradd --uid 10001 --gid lmscore --no-create-home --shell /usr/sbin/nologin lmscore
COPY --from=build /opt/lmscore /opt/lmscore
COPY --from=build --chown=10001:10001 /var/cache/lmscore /var/cache/lmscore
COPY deploy/docker/healthcheck.py /opt/lmscore/healthcheck.py
ENV PATH=/opt/lmscore/bin:$PATH NUMBA_CACHE_DIR=/var/cache/lmscore PYTHONUNBUFFERED=1
# Compiled loops are kept here; a volume, because the rest of the file system is read-only.
VOLUME /var/cache/lmscore
USER 10001:10001
EXPOSE 50051 9464
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
  CMD ["python", "/opt/lmscore/healthcheck.py"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["lmscore-server"]
