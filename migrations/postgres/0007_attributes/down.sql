DROP TABLE custom_attributes;
