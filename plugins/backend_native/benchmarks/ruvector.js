// Time awaited searches of @ruvector/core; called by ruvector.py, which says what for.
// node ruvector.js DIM N VECTORS QUERIES STORAGE [HNSW-CONFIG]: both files are raw float32, row by row.
const fs = require("fs");
const { createRequire } = require("module");
const { VectorDb } = createRequire(process.cwd() + "/")("@ruvector/core");

const [dim, n] = process.argv.slice(2, 4).map(Number);
const [vectors, queries] = process.argv.slice(4, 6).map((path) => {
  const bytes = fs.readFileSync(path);
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
});
const [storagePath, config] = process.argv.slice(6);
const row = (of, i) => of.slice(i * dim, (i + 1) * dim);

(async () => {
  const hnsw = config ? { hnswConfig: JSON.parse(config) } : {};
  const store = new VectorDb({ dimensions: dim, storagePath, distanceMetric: "Cosine", ...hnsw });
  await store.insertBatch(Array.from({ length: n }, (_, i) => ({ id: String(i), vector: row(vectors, i) })));
  const times = [];
  for (let i = 0; i < queries.length / dim; i++) {
    const vector = row(queries, i);
    const start = process.hrtime.bigint();
    await store.search({ vector, k: 10 });
    times.push(Number(process.hrtime.bigint() - start) / 1e3);
  }
  console.log(JSON.stringify(times));
})();
