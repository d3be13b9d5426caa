-- A model::Delivery in JSON, where the event's maker wants something of its delivery.
ALTER TABLE event ADD COLUMN delivery TEXT;

-- SHA-256 of what was accepted under a name, where the same name for something else is a mistake.
ALTER TABLE accepted ADD COLUMN digest BLOB;
