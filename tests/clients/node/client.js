// Reads features from recsvc with classes made from the same protos as recsvc's own, by another implementation of gRPC and
// protobuf. Usage: node client.js HOST:PORT GetFeatures|GetFeaturesBatch < request.json
// The request is JSON by the field names of serving.proto. The reply goes to standard output as JSON: 64-bit integers and
// numbers that JSON does not have as strings, enums as names. A failed call is one JSON line on standard error, exit status 1.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

const PROTOS = path.join(__dirname, "..", "..", "..", "protos");
const MAX_REPLY_BYTES = 8 * 1024 * 1024;
const DEADLINE_MS = 20_000;

function connect(target) {
  const definition = protoLoader.loadSync("recsvc/v1/serving.proto", {
    includeDirs: [PROTOS],
    keepCase: true,
    longs: String,
    enums: String,
    arrays: true,
    json: true,
  });
  const { ServingService } = grpc.loadPackageDefinition(definition).recsvc.v1;
  return new ServingService(target, grpc.credentials.createInsecure(), {
    "grpc.max_receive_message_length": MAX_REPLY_BYTES,
  });
}

function main([target, method]) {
  const request = JSON.parse(fs.readFileSync(0, "utf8"));
  const client = connect(target);
  client[method](request, { deadline: Date.now() + DEADLINE_MS }, (error, reply) => {
    if (error) {
      process.stderr.write(`${JSON.stringify({ code: grpc.status[error.code], message: error.details })}\n`);
      process.exitCode = 1;
    } else {
      process.stdout.write(JSON.stringify(reply));
    }
    client.close();
  });
}

main(process.argv.slice(2));
