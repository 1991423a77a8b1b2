# The demos: chat pages with their backends, each one process.
# docker build -t durable-demos -f docker/demos.Dockerfile .

FROM node:22-slim AS node

FROM python:3.13-slim AS build
ENV UV_CACHE_DIR=/cache UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
COPY --from=node /usr/local /usr/local
WORKDIR /app
COPY requirements requirements
RUN pip install --no-cache-dir --require-hashes -r requirements/uv.txt
RUN uv venv venv
RUN --mount=type=cache,target=/cache \
    uv pip install --python venv --require-hashes -r requirements/demos.txt
COPY package.json package-lock.json .npmrc ./
COPY packages packages
COPY demos demos
# The demos find their pages in the repository, so they stay where their sources are.
RUN --mount=type=cache,target=/cache \
    uv pip install --python venv --no-deps --build-constraint requirements/build.txt \
    packages/transport packages/streams packages/proxy packages/ai-db packages/ai-db-proxy \
    packages/ai-transport -e demos
RUN venv/bin/python -c "from durable_demos._pages import ensure_pages; ensure_pages()" \
    && rm -rf node_modules packages/browser/node_modules demos/web/node_modules .cache

FROM python:3.13-slim
COPY --from=build /app /app
RUN install --directory --owner=10001 --group=10001 /data
USER 10001:10001
WORKDIR /data
ENV PATH=/app/venv/bin:$PATH PYTHONUNBUFFERED=1
EXPOSE 5173
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s \
    CMD ["python", "-c", "from http.client import HTTPConnection as C; c = C('127.0.0.1', 5173, timeout=5); c.request('GET', '/'); exit(c.getresponse().status != 200)"]
ENTRYPOINT ["demo"]
CMD ["vercel-ai-sdk-durable-transport", "--host", "0.0.0.0", "--port", "5173", "--data", "/data"]
