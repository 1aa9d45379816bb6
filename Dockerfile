FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY producer producer
COPY worker worker
RUN python -m venv /opt/understudy && /opt/understudy/bin/pip install --no-cache-dir '.[all]'

FROM python:3.13-slim
COPY --from=build /opt/understudy /opt/understudy
ENV PATH=/opt/understudy/bin:$PATH PYTHONUNBUFFERED=1
RUN useradd --system --uid 10001 --no-create-home understudy
USER understudy
WORKDIR /srv
CMD ["celery", "-A", "worker", "worker", "--loglevel", "INFO"]
