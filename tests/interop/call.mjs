// Makes calls with gRPC for Node.js; the contract is loaded at run time, nothing is generated.
//
//   node call.mjs '{"include": [folders of .proto files], "address": "host:port",
//                   "serviceConfig": "...", "calls": [
//                     {"method": "Generate", "request": {...}, "cancelAfter": 2, "peers": 2}]}'
//
// Makes them one after the other, and prints a line of JSON for each: the messages of the answer,
// and how the call ended. With cancelAfter, it is cancelled after that many messages; with peers,
// a call with one answer is made until so many servers have answered, and what comes last is
// printed.
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";
import protobuf from "protobufjs";
import { existsSync } from "node:fs";
import { join } from "node:path";

const { include, address, serviceConfig, calls } = JSON.parse(process.argv[2]);
const SERVICE = "lmscore/v1/language_model_service.proto";
const DETAILS = ["google/rpc/status.proto", "google/rpc/error_details.proto"];

const definition = protoLoader.loadSync(SERVICE, {
  includeDirs: include,
  keepCase: true,
  longs: String,
  enums: String,
});
const { LanguageModelService } = grpc.loadPackageDefinition(definition).lmscore.v1;
const client = new LanguageModelService(
  address,
  grpc.credentials.createInsecure(),
  serviceConfig ? { "grpc.service_config": serviceConfig } : {},
);

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

function end({ code, details, metadata }) {
  return { status: grpc.status[code], message: details, details: errorDetails(metadata) };
}

const options = () => ({ deadline: Date.now() + 60_000 });

function stream({ method, request, cancelAfter }) {
  return new Promise((resolve) => {
    const messages = [];
    const call = client[method](request, options());
    call.on("data", (message) => {
      messages.push(message);
      if (messages.length === cancelAfter) call.cancel();
    });
    call.on("error", () => {}); // the status tells the same
    call.on("status", (status) => resolve({ messages, end: end(status) }));
  });
}

function single({ method, request }, answered) {
  return new Promise((resolve) => {
    const call = client[method](request, options(), (error, message) => {
      answered.add(call.getPeer());
      resolve({
        messages: message ? [message] : [],
        end: end(error ?? { code: grpc.status.OK, details: "" }),
      });
    });
  });
}

const giveUp = Date.now() + 40_000;
for (const { peers = 1, ...call } of calls) {
  const make = client[call.method].responseStream ? stream : single;
  const answered = new Set();
  let outcome;
  do outcome = await make(call, answered);
  while (answered.size < peers && peers > 1 && Date.now() < giveUp);
  process.stdout.write(`${JSON.stringify(outcome)}\n`);
}
client.close();
