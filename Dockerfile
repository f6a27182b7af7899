# skinclf as a server with its built-in model, on a CPU.
#
#   docker build -t skinclf .
#   docker build -t skinclf --build-arg PIP_ARGS="--extra-index-url URL-OF-CPU-WHEELS-OF-PYTORCH" .
#   docker run --rm --read-only --tmpfs /tmp -p 127.0.0.1:8000:8000 -v "$PWD/token.txt:/run/token.txt:ro" skinclf
#   docker run --rm --read-only --tmpfs /tmp -v "$PWD:/work" -w /work skinclf predict --image-dir imgs --output preds.csv
#
# Without an index of CPU wheels in PIP_ARGS, pip installs PyTorch with CUDA, which takes several GB.

FROM python:3.13-slim AS build
ARG PIP_ARGS=""
ARG EXTRAS="serve"
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY skinclf skinclf
COPY cli cli
COPY training training
COPY model_cards model_cards
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --no-compile ${PIP_ARGS} ".[${EXTRAS}]" \
    && /venv/bin/skinclf models verify ham10000-efficientnet-lite0

FROM python:3.13-slim
LABEL org.opencontainers.image.title="skinclf" \
      org.opencontainers.image.description="For research and education. Not a medical device, never a diagnosis." \
      org.opencontainers.image.source="https://github.com/skinclf/skinclf" \
      org.opencontainers.image.licenses="Apache-2.0 AND CC-BY-NC-4.0"
RUN useradd --uid 1000 --create-home skinclf
COPY --from=build /venv /venv
# The root file system may be read-only: what is written (caches) goes to /tmp.
ENV PATH="/venv/bin:$PATH" \
    HOME=/tmp \
    XDG_CACHE_HOME=/tmp/cache \
    MPLCONFIGDIR=/tmp/matplotlib \
    HF_HUB_OFFLINE=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 1000
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["skinclf"]
# An address that other machines reach needs a token: mount it, or state --no-token behind a proxy that asks for one.
CMD ["serve", "--host", "0.0.0.0", "--port", "8000", "--token-file", "/run/token.txt"]
