# keras-emo serve. It listens beyond the container, so it does not start without a key:
#   docker build -t keras-emo .
#   docker run --rm --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
#     -p 127.0.0.1:8080:8080 -e KERAS_EMO_API_KEY="$KEY" keras-emo
# Give it longer to stop than --drain-s (20 s): docker stop -t 30. A bundle of one's own: -v
# /path/to/bundle:/bundle:ro, or --bundle after the image's name.
FROM python:3.12-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY requirements-runtime.txt requirements-serve.txt constraints.txt ./
RUN python -m venv --without-pip /opt/keras_emo \
 && pip --python /opt/keras_emo install --only-binary :all: -c constraints.txt \
      -r requirements-runtime.txt -r requirements-serve.txt
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY keras_emo keras_emo
RUN pip --python /opt/keras_emo install --no-deps . \
 && python -m compileall -q /opt/keras_emo

FROM python:3.12-slim-bookworm
LABEL org.opencontainers.image.title="keras_emo" \
      org.opencontainers.image.description="Emotion in face and voice over HTTP" \
      org.opencontainers.image.licenses="Apache-2.0 AND MIT AND CC-BY-NC-SA-4.0"
RUN python -m pip uninstall --yes --quiet --root-user-action=ignore pip \
 && useradd --system --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin emo
COPY --from=build /opt/keras_emo /opt/keras_emo
COPY saved_models/default /bundle
ENV PATH=/opt/keras_emo/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TMPDIR=/tmp
USER 10001:10001
WORKDIR /tmp
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/v2/health/ready', timeout=4)"]
ENTRYPOINT ["keras-emo", "serve", "--host", "0.0.0.0", "--port", "8080", "--drain-s", "20", "--bundle", "/bundle"]
