// A bcoin node on regtest that talks to nobody: RPC on loopback, rewards to the output script that is given.
// usage: node bcoin.js MODULES PORT SCRIPT
'use strict';
process.env.NODE_BACKEND = 'js';
const [, , modules, port, script] = process.argv;

// its database is compiled at installation and is not needed: the chain is kept in memory
const Module = require('module');
const load = Module._load;
Module._load = (name, ...rest) => name === 'leveldown' ? class {} : load(name, ...rest);
const bcoin = require(require.resolve('bcoin', {paths: [modules]}));

(async () => {
  bcoin.Network.set('regtest');
  const node = new bcoin.FullNode({
    network: 'regtest', memory: true, workers: false, apiKey: 'sekret', httpHost: '127.0.0.1', httpPort: Number(port),
    logConsole: false, listen: false, noDns: true, maxOutbound: 1, only: [], indexTx: true, indexAddress: false
  });
  await node.open();  // and never connect: no peers
  node.miner.addresses = [bcoin.Address.fromScript(bcoin.Script.fromRaw(Buffer.from(script, 'hex')))];
  console.log('ready');
  process.stdin.resume();
  process.stdin.on('end', async () => {
    await node.close();
    process.exit(0);
  });
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
