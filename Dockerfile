# The service in one image: API and worker, with the pages built in. `docker build --tag flow-runs .`
# Packages come from the lock files with their hashes; give the base images by digest where builds must not change.

ARG PYTHON_IMAGE=python:3.13-slim-bookworm
ARG NODE_IMAGE=node:22-bookworm-slim

FROM ${NODE_IMAGE} AS pages
WORKDIR /build/web
# The packages first, so that they are installed again only if their lock has changed.
COPY web/package.json web/package-lock.json web/.npmrc ./
RUN npm ci --omit=dev --ignore-scripts
COPY scripts/build-web /build/scripts/build-web
COPY schema/schema.graphql /build/schema/schema.graphql
COPY web /build/web
RUN /build/scripts/build-web && chmod --recursive a+rX dist

FROM ${PYTHON_IMAGE} AS packages
WORKDIR /app
COPY requirements/run.lock requirements/run.lock
# Wheels alone, so nothing is compiled and no compiler is needed; without pip in the end.
RUN python -m venv --without-pip .venv \
    && pip --python .venv/bin/python install --no-cache-dir --disable-pip-version-check \
        --no-deps --require-hashes --only-binary :all: --requirement requirements/run.lock
COPY domain domain
COPY db db
COPY engine engine
COPY live live
COPY resolvers resolvers
COPY schema schema
COPY service service
# The user that runs the service cannot write the files of compiled modules, and a checkout may have files that only its
# owner reads.
RUN .venv/bin/python -m compileall -q .venv domain db engine live resolvers schema service \
    && chmod --recursive a+rX /app

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="Flow Runs" \
      org.opencontainers.image.description="A GraphQL service over flow runs: API, worker and console."
RUN groupadd --gid 10001 flowruns \
    && useradd --no-log-init --uid 10001 --gid flowruns --no-create-home --home-dir /data --shell /usr/sbin/nologin flowruns \
    && install --directory --owner flowruns --group flowruns --mode 0700 /data
WORKDIR /app
COPY --from=packages /app /app
COPY --from=pages /build/web/dist web/dist
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    FLOWRUNS_HOST=0.0.0.0 \
    FLOWRUNS_PORT=8000 \
    FLOWRUNS_DATABASE_URL=sqlite:////data/flowruns.db
# By number, so that platforms can see that it is not root.
USER 10001:10001
VOLUME /data
EXPOSE 8000
# Of `serve` and `api`. A worker has no port: switch the check off for it, as compose.yaml does.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ['FLOWRUNS_PORT']}/healthz\", timeout=4)"]
ENTRYPOINT ["python", "-m", "service"]
CMD ["serve"]
