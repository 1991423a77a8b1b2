-- Run once by the Postgres image, when its volume is new: a database for each service with a store.
CREATE DATABASE streams;
CREATE DATABASE proxy;
