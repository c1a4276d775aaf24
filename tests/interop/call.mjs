// Makes one call with gRPC for Node.js; the contract is loaded at run time, nothing is generated.
//
//   node call.mjs '{"include": [folders of .proto files], "address": "host:port",
//                   "method": "Generate", "request": {...}, "cancelAfter": 2}'
//
// Prints the messages of the answer as one line of JSON each, then how the call ended. With
// cancelAfter, the call is cancelled after that many messages.
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";
import protobuf from "protobufjs";
import { existsSync } from "node:fs";
import { join } from "node:path";

const { include, address, method, request, cancelAfter } = JSON.parse(process.argv[2]);
const SERVICE = "lmscore/v1/language_model_service.proto";
const DETAILS = ["google/rpc/status.proto", "google/rpc/error_details.proto"];

const definition = protoLoader.loadSync(SERVICE, {
  includeDirs: include,
  keepCase: true,
  longs: String,
  enums: String,
});
const { LanguageModelService } = grpc.loadPackageDefinition(definition).lmscore.v1;
const client = new LanguageModelService(address, grpc.credentials.createInsecure());

function print(record) {
  process.stdout.write(`${JSON.stringify(record)}\n`);
}

function errorDetails(metadata) {
  const [packed] = metadata?.get("grpc-status-details-bin") ?? [];
  if (packed === undefined) return [];
  const root = new protobuf.Root();
  root.resolvePath = (_, target) =>
    include.map((folder) => join(folder, target)).find((path) => existsSync(path)) ?? target;
  root.loadSync(DETAILS, { keepCase: true });
  const status = root.lookupType("google.rpc.Status").decode(packed);
  return status.details.map(({ type_url, value }) => {
    const type = root.lookupType(type_url.split("/").pop());
    return { type: type.name, ...type.toObject(type.decode(value)) };
  });
}

function ended({ code, details, metadata }) {
  print({ status: grpc.status[code], message: details, details: errorDetails(metadata) });
  client.close();
}

const options = { deadline: Date.now() + 20_000 };

if (client[method].responseStream) {
  const call = client[method](request, options);
  let count = 0;
  call.on("data", (message) => {
    print(message);
    count += 1;
    if (count === cancelAfter) call.cancel();
  });
  call.on("error", () => {}); // the status tells the same
  call.on("status", ended);
} else {
  client[method](request, options, (error, message) => {
    if (message) print(message);
    ended(error ?? { code: grpc.status.OK, details: "" });
  });
}
