// Classify image files on Triton from Node, over gRPC:
//
//     npm ci
//     node classify.js [--url localhost:8001] [--top 5] [--deadline 10] IMAGE...
//
// Prints path, label and score, separated by tabs. Exit status: 0 done, 1 an image failed, 2 wrong usage.

import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

import grpc from "@grpc/grpc-js";
import { loadFileDescriptorSetFromBuffer } from "@grpc/proto-loader";

const protoset = readFileSync(new URL("../triton.protoset", import.meta.url));
const { inference } = grpc.loadPackageDefinition(loadFileDescriptorSetFromBuffer(protoset, { keepCase: true }));

// A classification is safe to repeat. UNAVAILABLE is a server that cannot be reached, or one whose queue is full.
const retries = {
  methodConfig: [{
    name: [{ service: "inference.GRPCInferenceService" }],
    retryPolicy: {
      maxAttempts: 5,
      initialBackoff: "0.1s",
      maxBackoff: "2s",
      backoffMultiplier: 2,
      retryableStatusCodes: ["UNAVAILABLE"],
    },
  }],
};

/** One client for all requests of an application; close() it at the end. */
export function connect(url) {
  return new inference.GRPCInferenceService(url, grpc.credentials.createInsecure(), {
    "grpc.service_config": JSON.stringify(retries),
  });
}

/** The labels of one image, best first: [{ label, index, score }]. `image` is an encoded file, as a Buffer. */
export async function classify(client, image, { topK = 5, deadlineS = 10 } = {}) {
  const request = {
    model_name: "classifier",
    inputs: [{ name: "IMAGE", datatype: "BYTES", shape: [1, 1], contents: { bytes_contents: [image] } }],
    // A map, as a list of its entries: that is how proto-loader shows the maps of a descriptor set.
    outputs: [{ name: "PROBABILITIES", parameters: [{ key: "classification", value: { int64_param: topK } }] }],
  };
  const reply = await new Promise((resolve, reject) => {
    const deadline = Date.now() + deadlineS * 1000;
    client.ModelInfer(request, { deadline }, (error, value) => (error ? reject(error) : resolve(value)));
  });
  return elements(reply.raw_output_contents[0]).map(predictionFromElement);
}

/** A BYTES tensor's elements, as text: each has its length in front, four bytes, little-endian. */
function elements(raw) {
  const found = [];
  for (let at = 0; at < raw.length; at += 4 + raw.readUInt32LE(at)) {
    found.push(raw.toString("utf8", at + 4, at + 4 + raw.readUInt32LE(at)));
  }
  return found;
}

/** "0.658295:25:cougar_face" -> { score, index, label }; the label may hold colons of its own. */
function predictionFromElement(element) {
  const [score, index, ...label] = element.split(":");
  return { label: label.join(":"), index: Number(index), score: Number(score) };
}

async function main() {
  const { values, positionals: paths } = parseArgs({
    allowPositionals: true,
    options: {
      url: { type: "string", default: "localhost:8001" },
      top: { type: "string", default: "5" },
      deadline: { type: "string", default: "10" },
    },
  });
  const [topK, deadlineS] = [Number(values.top), Number(values.deadline)];
  if (!paths.length || !Number.isInteger(topK) || topK < 1 || !(deadlineS > 0)) {
    throw new TypeError("no image, or an option that is no number above 0");
  }
  const client = connect(values.url);
  for (const path of paths) {
    try {
      for (const { label, score } of await classify(client, await readFile(path), { topK, deadlineS })) {
        console.log(`${path}\t${label}\t${score.toFixed(6)}`);
      }
    } catch (error) {
      // gRPC's errors have the server's words and a number, the file system's a message
      console.error(`${path}: ${error.details ? `${error.details} (${grpc.status[error.code]})` : error.message}`);
      process.exitCode = 1;
    }
  }
  client.close();
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  await main().catch((error) => {
    console.error(`${error.message}\nusage: node classify.js [--url HOST:PORT] [--top K] [--deadline SECONDS] IMAGE...`);
    process.exitCode = 2;
  });
}
