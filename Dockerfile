# The service as an image: one program, `ticketing`, run by an account that owns nothing of it.
# docker-compose.yml runs every process of the service from it.

# The version that the tests run with.
ARG PYTHON=3.11.14-slim-trixie

FROM python:${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build

# All that the lock file names, each file held to its hash.
COPY requirements.lock ./
RUN pip wheel --quiet --require-hashes --requirement requirements.lock --wheel-dir /wheels

# From those files, and from nowhere else: what the service needs to run, and the service.
COPY pyproject.toml ./
COPY aggregates ./aggregates
COPY api ./api
COPY audit ./audit
COPY cli ./cli
COPY commands ./commands
COPY infrastructure ./infrastructure
COPY projections ./projections
COPY workers ./workers
RUN python -m venv --without-pip /opt/ticketing \
    && pip --python /opt/ticketing/bin/python install --quiet --no-index --find-links /wheels .

FROM python:${PYTHON}
COPY --from=build /opt/ticketing /opt/ticketing
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin ticketing
ENV PATH=/opt/ticketing/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /srv
USER 10001
ENTRYPOINT ["ticketing"]
CMD ["--help"]
