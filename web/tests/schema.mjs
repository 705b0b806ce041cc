// The published JSON Schema of records, and what of a record it does not allow.

import { readFileSync } from 'node:fs';

const root = JSON.parse(readFileSync(new URL('../../docs/benchmark.schema.json', import.meta.url), 'utf8'));

/** Keywords that say nothing about what is allowed. */
const ANNOTATIONS = new Set(['$defs', '$schema', 'title', 'description', 'format']);

const types = {
  object: (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
  array: Array.isArray,
  string: (value) => typeof value === 'string',
  number: (value) => typeof value === 'number',
  integer: Number.isInteger,
  boolean: (value) => typeof value === 'boolean',
  null: (value) => value === null,
};

/** Each keyword that the schema has: the complaints about a value. One that is not here fails. */
const keywords = {
  $ref: (name, value, at) => complaints(value, root.$defs[name.replace('#/$defs/', '')], at),
  type: (names, value, at) => ([names].flat().some((name) => types[name](value)) ? [] : [`${at} is no ${names}`]),
  const: (expected, value, at) => (value === expected ? [] : [`${at} is not ${expected}`]),
  minimum: (least, value, at) => (typeof value !== 'number' || value >= least ? [] : [`${at} is less than ${least}`]),
  minItems: (least, value, at) => (!Array.isArray(value) || value.length >= least ? [] : [`${at} is too short`]),
  maxItems: (most, value, at) => (!Array.isArray(value) || value.length <= most ? [] : [`${at} is too long`]),
  items: (schema, value, at) => (Array.isArray(value) ? value.flatMap((item, i) => complaints(item, schema, `${at}/${i}`)) : []),
  properties: (schemas, value, at) =>
    types.object(value) ? Object.keys(schemas).flatMap((key) => (key in value ? complaints(value[key], schemas[key], `${at}/${key}`) : [])) : [],
  required: (keys, value, at) => (types.object(value) ? keys.filter((key) => !(key in value)).map((key) => `${at} lacks ${key}`) : []),
  additionalProperties: (allowed, value, at, { properties }) =>
    allowed === false && types.object(value) ? Object.keys(value).filter((key) => !(key in properties)).map((key) => `${at} has ${key}`) : [],
  anyOf: (schemas, value, at) => (schemas.some((schema) => complaints(value, schema, at).length === 0) ? [] : [`${at} is none of what it may be`]),
  oneOf: (schemas, value, at) =>
    schemas.filter((schema) => complaints(value, schema, at).length === 0).length === 1 ? [] : [`${at} is not one of what it may be`],
};

/** What of a value its schema does not allow. */
export function complaints(value, schema = root, at = '') {
  // Any value.
  if (schema === true) return [];
  return Object.entries(schema)
    .filter(([keyword]) => !ANNOTATIONS.has(keyword))
    .flatMap(([keyword, given]) => keywords[keyword](given, value, at, schema));
}
