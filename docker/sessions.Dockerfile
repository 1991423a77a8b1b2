# durable-sessions: chat sessions that people and agents share.
# docker build -t durable-sessions -f docker/sessions.Dockerfile .

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
    packages/transport packages/streams packages/proxy packages/ai-db packages/ai-db-proxy

FROM python:3.13-slim
COPY --from=build /app /app
RUN install --directory --owner=10001 --group=10001 /data
USER 10001:10001
WORKDIR /data
ENV PATH=/app/bin:$PATH PYTHONUNBUFFERED=1
ENV DATABASE_URL=sqlite:////data/sessions.sqlite SESSIONS_HOST=0.0.0.0 SESSIONS_PORT=4001
EXPOSE 4001
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s \
    CMD ["python", "-c", "from http.client import HTTPConnection as C; c = C('127.0.0.1', 4001, timeout=5); c.request('GET', '/health'); exit(c.getresponse().status != 200)"]
ENTRYPOINT ["durable-sessions"]
# Wants SESSIONS_SECRET, and SESSIONS_ALLOW for the agents that may be called.
CMD ["serve"]
