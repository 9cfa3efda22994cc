// Reads an AsyncAPI document, and fails on errors and warnings. Advice on newer versions is not one.

import { Parser, fromFile } from '@asyncapi/parser';

const WARNING = 1;

const { document, diagnostics } = await fromFile(new Parser(), process.argv[2]).parse();
const found = diagnostics.filter((diagnostic) => diagnostic.severity <= WARNING);
for (const { code, path, message } of found) console.error(`${path.join('.')}: ${message} (${code})`);
if (!document || found.length > 0) process.exit(1);
console.log(`${process.argv[2]}: ${document.operations().length} operations, ${document.messages().length} messages`);
