"""The port on Azure Cosmos DB for NoSQL. `backend.py` puts it together; the driver is imported in this package only."""
