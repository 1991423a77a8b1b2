# durable-streams: the log, over HTTP.
# docker build -t durable-streams -f docker/streams.Dockerfile .

FROM python:3.13-slim AS build
ENV UV_CACHE_DIR=/cache UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
COPY requirements requirements
RUN pip install --no-cache-dir --require-hashes -r requirements/uv.txt
RUN uv venv /app
RUN --mount=type=cache,target=/cache \
    uv pip install --python /app --require-hashes -r requirements/services.txt
COPY packages packages
RUN --mount=type=cache,target=/cache \
    uv pip install --python /app --no-deps --build-constraint requirements/build.txt \
    packages/transport packages/streams

FROM python:3.13-slim
COPY --from=build /app /app
RUN install --directory --owner=10001 --group=10001 /data
USER 10001:10001
WORKDIR /data
ENV PATH=/app/bin:$PATH PYTHONUNBUFFERED=1
ENV DATABASE_URL=sqlite:////data/streams.sqlite
EXPOSE 3001
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s \
    CMD ["python", "-c", "from http.client import HTTPConnection as C; c = C('127.0.0.1', 3001, timeout=5); c.request('GET', '/ready'); exit(c.getresponse().status != 200)"]
ENTRYPOINT ["durable-streams"]
# Streams have no secret: it says so and ends, until --insecure is added for a network of its own.
CMD ["serve", "--host", "0.0.0.0"]
