# The runtime without torch, with the HTTP API. `make package` leaves the wheel in dist; see docs/guide/serving.md.
FROM python:3.13-slim AS build
COPY dist/llmbuilder_runtime-*.whl /wheel/
RUN python3 -m venv --without-pip /opt/llmb
RUN python3 -m pip --python /opt/llmb/bin/python3 install --no-cache-dir "$(echo /wheel/*.whl)[cpu,serve]"

FROM python:3.13-slim
COPY --from=build /opt/llmb /opt/llmb
ENV PATH=/opt/llmb/bin:$PATH
USER 10001:10001
EXPOSE 8000
ENTRYPOINT ["llmb"]
CMD ["serve", "model=/bundle", "--host", "0.0.0.0"]
