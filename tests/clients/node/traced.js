// Traces what a program calls over gRPC, with OpenTelemetry as it comes: node --require ./traced.js client.js …
// Spans go to OTEL_EXPORTER_OTLP_ENDPOINT (OTLP over HTTP); the trace of the first call is printed on standard error.
"use strict";

const { registerInstrumentations } = require("@opentelemetry/instrumentation");
const { GrpcInstrumentation } = require("@opentelemetry/instrumentation-grpc");
const { OTLPTraceExporter } = require("@opentelemetry/exporter-trace-otlp-proto");
const { resourceFromAttributes } = require("@opentelemetry/resources");
const { NodeTracerProvider, SimpleSpanProcessor } = require("@opentelemetry/sdk-trace-node");

const announcer = {
  onStart: (span) => process.stderr.write(`trace ${span.spanContext().traceId}\n`),
  onEnd: () => {},
  forceFlush: async () => {},
  shutdown: async () => {},
};
const provider = new NodeTracerProvider({
  resource: resourceFromAttributes({ "service.name": "node-client" }),
  spanProcessors: [announcer, new SimpleSpanProcessor(new OTLPTraceExporter())],
});
provider.register();
registerInstrumentations({ instrumentations: [new GrpcInstrumentation()] });
process.once("beforeExit", () => provider.shutdown());
