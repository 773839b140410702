#!/usr/bin/env node
// Prisma's own schema engine, built as WebAssembly, in the place of its native build.
//
// The Prisma command speaks JSON-RPC with a program that it downloads from a host of its own, which
// not every machine can reach. The same engine is published on npm as a library: this program is the
// pipe between the two. Prisma takes it by PRISMA_SCHEMA_ENGINE_BINARY.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { PrismaLibSql } from '@prisma/adapter-libsql'
import { bindMigrationAwareSqlAdapterFactory } from '@prisma/driver-adapter-utils'

const argumentsOf = (name) =>
  process.argv.flatMap((word, at) => (word === name ? [process.argv[at + 1]] : []))
const send = (message) => process.stdout.write(JSON.stringify({ jsonrpc: '2.0', ...message }) + '\n')

if (process.argv.includes('can-connect-to-database')) {
  process.exit(0)
}

const folder = dirname(createRequire(import.meta.url).resolve('@prisma/schema-engine-wasm/schema_engine_bg'))
const glue = await import(join(folder, 'schema_engine_bg.js'))
const { instance } = await WebAssembly.instantiate(readFileSync(join(folder, 'schema_engine_bg.wasm')), {
  './schema_engine_bg.js': glue,
})
globalThis.PRISMA_WASM_PANIC_REGISTRY = { set_message: (text) => console.error(text) }
glue.__wbg_set_wasm(instance.exports)
instance.exports.__wbindgen_start()

// The engine writes a name in double quotes where it means text. Its own SQLite takes that; libsql's
// doesn't.
const asText = (sql) => sql.replace(/ name = "([^"]*)"/, " name = '$1'")

const adapterFor = (url) => {
  const adapter = bindMigrationAwareSqlAdapterFactory(new PrismaLibSql({ url }))
  const connect = adapter.connect.bind(adapter)
  adapter.connect = async () => {
    const connected = await connect()
    const queryRaw = connected.value.queryRaw.bind(connected.value)
    connected.value.queryRaw = (query) => queryRaw({ ...query, sql: asText(query.sql) })
    return connected
  }
  return adapter
}

const datamodels = argumentsOf('--datamodels').map((path) => [path, readFileSync(path, 'utf8')])
const [datasource] = argumentsOf('--datasource')
let engine
for await (const line of createInterface({ input: process.stdin })) {
  const { id, method, params } = JSON.parse(line)
  if (method === undefined) continue // the answer to a print
  try {
    const url = datasource ? JSON.parse(datasource).url : params.datasourceType.url
    engine ??= await glue.SchemaEngine.new({ datamodels }, () => {}, adapterFor(url))
    const result = (await engine[method](params)) ?? null
    // What the native engine prints by itself.
    if (result?.stdout) send({ id: 1_000_000 + id, method: 'print', params: { content: result.stdout } })
    send({ id, result })
  } catch (error) {
    const { message, code, meta } = error
    send({ id, error: { code: 4466, message, data: { is_panic: false, message, error_code: code, meta } } })
  }
}
