// Verify a request of the scheduler: Standard Webhooks, with Node's own modules.

import { createHmac, timingSafeEqual } from "node:crypto";
import { readFileSync, realpathSync } from "node:fs";
import { fileURLToPath } from "node:url";

const TOLERANCE = 5 * 60; // seconds

/** Whether the scheduler signed this body (a Buffer); the names of headers are in lower case. */
export function isGenuine(secret, headers, body) {
  const timestamp = headers["webhook-timestamp"] ?? "";
  if (!/^[0-9]+$/.test(timestamp)) return false;
  if (Math.abs(Date.now() / 1000 - Number(timestamp)) > TOLERANCE) return false;
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  const expected = createHmac("sha256", key)
    .update(`${headers["webhook-id"]}.${timestamp}.`)
    .update(body)
    .digest();
  // One for each live secret; while secrets rotate there are two.
  return (headers["webhook-signature"] ?? "").split(" ").some((signature) => {
    const [version, text] = signature.split(",");
    const given = Buffer.from(text ?? "", "base64");
    return version === "v1" && given.length === expected.length && timingSafeEqual(given, expected);
  });
}

// Headers as a JSON object in the second argument, the body on standard input.
if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const [secret, headers] = process.argv.slice(2);
  process.exit(isGenuine(secret, JSON.parse(headers), readFileSync(0)) ? 0 : 1);
}
