// The types of messages as docs/schemas has them.

import { readFile } from 'node:fs/promises';
import { compile, type JSONSchema } from 'json-schema-to-typescript';

const FILES = ['values', 'commands', 'messages'];

const BANNER = `// The messages of docs/protocol.md, version 1: what a client sends (Command) and what the server sends (ServerMessage).
// Made from docs/schemas by \`npm run messages\`; a test says when it is out of date.
`;

type Schema = Record<string, unknown>;

/** The source of src/messages.ts. */
export async function messagesSource(): Promise<string> {
  const definitions: Record<string, Schema> = {};
  for (const file of FILES) {
    const text = await readFile(new URL(`../../../../docs/schemas/${file}.json`, import.meta.url), 'utf8');
    // The names of definitions are the same space in all files.
    Object.assign(definitions, JSON.parse(text.replaceAll(/"\w+\.json#\/\$defs\//g, '"#/$defs/')).$defs);
  }
  for (const schema of Object.values(definitions)) describeAnyValue(schema);
  const whole = {
    title: 'Message',
    description: 'Any message.',
    anyOf: [{ $ref: '#/$defs/Command' }, { $ref: '#/$defs/ServerMessage' }],
    $defs: wrapReferences(definitions),
  };
  return compile(whole as JSONSchema, 'Message', {
    // Clients ignore fields that they do not know: no type needs a place for them.
    additionalProperties: false,
    bannerComment: BANNER,
    style: { singleQuote: true, printWidth: 120 },
  });
}

/** A schema that allows everything would become an object with any keys. */
function describeAnyValue(schema: Schema): void {
  if (Object.keys(schema).every((key) => key === 'description')) schema['tsType'] = 'unknown';
}

/** A description beside a reference is about this use of it, and not about what it refers to. */
function wrapReferences(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(wrapReferences);
  if (typeof value !== 'object' || value === null) return value;
  if ('$ref' in value && 'description' in value) return { description: value.description, allOf: [{ $ref: value.$ref }] };
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, wrapReferences(part)]));
}
