// Checks AsyncAPI documents with AsyncAPI's own parser: node check.mjs FILE ... It fails at errors and warnings.
import { readFileSync } from 'node:fs';
import { Parser } from '@asyncapi/parser';
import { AvroSchemaParser } from '@asyncapi/avro-schema-parser';

const severities = ['error', 'warning'];
// Version 3.0 is what most tools read.
const accepted = ['asyncapi-latest-version'];

let problems = 0;
for (const file of process.argv.slice(2)) {
  const parser = new Parser();
  parser.registerSchemaParser(AvroSchemaParser());
  const { document, diagnostics } = await parser.parse(readFileSync(file, 'utf8'), { source: file });
  for (const { code, message, path, range, severity } of diagnostics) {
    if (severity >= severities.length || accepted.includes(code)) continue;
    console.error(`${file}:${range.start.line + 1}: ${severities[severity]} ${code} at ${path.join('/')}: ${message}`);
    problems += 1;
  }
  if (document) console.log(`${file}: ${document.channels().all().length} channels, ${document.operations().all().length} operations, ${document.components().messages().all().length} messages`);
  else problems += 1;
}
process.exitCode = problems > 0 ? 1 : 0;
